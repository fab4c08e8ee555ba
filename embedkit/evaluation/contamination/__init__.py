"""What training pairs share with the tasks that models are measured by."""
