"""What commands print and write: tables, files of rows, submissions, pictures."""
