"""Protection from strangers: bounded files, imports off the current folder, child processes that end with us."""
