"""What can be done with a run: one file a verb."""
