"""The asynchronous half. `_sync` is made from it by `generate_sync.py`; change this one."""
