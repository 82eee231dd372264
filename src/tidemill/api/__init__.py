"""HTTP: one package a dialect over one backend, and everything a request meets before it reaches one."""
