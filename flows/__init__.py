"""One deployable flow per file; each reads as a paragraph."""
