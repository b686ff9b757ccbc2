"""What a data set teaches, before anything is trained on it: faults, duplicates, shortcuts and labels."""
