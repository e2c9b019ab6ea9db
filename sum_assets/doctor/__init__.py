"""What can run on this machine, and what is missing. Nothing is changed, and no error is raised."""
