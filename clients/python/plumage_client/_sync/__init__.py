"""The synchronous half. Made from `_async` by `generate_sync.py`: change that one."""
