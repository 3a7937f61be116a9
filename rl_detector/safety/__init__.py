"""What strangers cannot do: files of bounded size and depth, imports off the current folder, processes that end with us."""
