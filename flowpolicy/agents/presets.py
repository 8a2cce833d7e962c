def preset(name, env_id): return {}
