"""This plugin beside Zeus, CodeCarbon and pytest-energy-reporter: what a window's energy is worth and what it costs."""
