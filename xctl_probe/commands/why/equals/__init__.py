"""Equal processes, as the ranks of a job are: which of them holds the others up."""
