"""Speed and size against their goals: `python -m bench [row …]` measures both sides of each ratio in one run."""
