"""The results of runs and studies as plain data, and what is measured for them."""
