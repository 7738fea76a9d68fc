"""What people see while something goes on: lines and tables in a terminal, in a notebook."""
