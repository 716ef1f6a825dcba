"""What administrators do: keys and roles changed, looked through, and their decisions explained."""
