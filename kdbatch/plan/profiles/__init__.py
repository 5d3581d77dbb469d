"""Profiles, `jobs/profiles/<name>.yaml`: the scale at which all experiments are run."""
