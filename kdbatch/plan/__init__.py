"""Job YAML -> Experiment -> Plan, a value that can be printed, compared and tested. Writes nothing."""
