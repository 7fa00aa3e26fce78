"""What must hold: invariants and step properties, a file for each kernel part; stateful testing; contracts."""
