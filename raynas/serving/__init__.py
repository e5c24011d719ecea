"""The local web application over folders of runs: their list, their pages while they go on, runs side by side."""
