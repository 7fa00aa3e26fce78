"""What the machine is: one kernel part a file, in the specification language (`lang`), and the faults."""
