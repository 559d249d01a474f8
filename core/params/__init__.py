"""The parameters of one transfer: nested, frozen, declared once. No torch."""
