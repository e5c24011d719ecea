"""What workers carry out: tasks, of which scoring untrained networks is one, and the pools that dispatch them."""
