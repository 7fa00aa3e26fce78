"""How it is established: exhaustive search (`explore`), proof (`symbolic`), and what runs several engines at once."""
