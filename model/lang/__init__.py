"""The specification language: sorts, records, actions, front end, typed IR, traces."""
