"""The stages that specs name: one folder for each component, ``config.py`` light and ``stage.py`` the work."""
