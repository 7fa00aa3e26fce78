"""Recorded traces of a kernel's memory events against what every run of it keeps."""
