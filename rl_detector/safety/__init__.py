"""Protection from strangers' files and programs: bounded reading, safe imports, no process left behind."""
