"""What tries to get a key out: `thief.py` as a command or as a model's script, `hits.py` looks for what it got."""
