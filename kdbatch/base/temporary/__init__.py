"""Folders and files in places that other users can write to, such as /tmp and /dev/shm."""
