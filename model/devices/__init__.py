"""Devices and hosts: meshes and how arrays lie on them, several processes, how fast a device could be."""
