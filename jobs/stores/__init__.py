"""What is kept in Redis, each kind behind one class; the Lua scripts are the only writers."""
