"""What is made of rows: tables for people, papers and programs."""
