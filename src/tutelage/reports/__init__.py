"""HTML reports of runs and studies: one file that needs nothing else."""
