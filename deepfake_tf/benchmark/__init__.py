"""What it costs: speed, memory and, for the phone, accuracy, measured on this machine."""
