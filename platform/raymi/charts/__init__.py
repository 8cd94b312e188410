"""Charts and pages for people: SVG and HTML text without scripts or outside requests."""
