"""Where runs execute: processes forked on this machine, and the loop that drives a suite."""
