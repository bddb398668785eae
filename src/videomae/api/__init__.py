"""The public functions: what the command line calls, with the same parameters by the same names."""
