"""Videos that an experiment or a profile leaves out of pretraining."""
