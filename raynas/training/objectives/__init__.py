"""What is optimised: classification and distillation."""
