"""Devices and hosts: meshes and how arrays lie on them, several processes, peak and counted work."""
