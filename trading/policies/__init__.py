"""What decides, behind the policy port."""
