"""The agents: one verb, one mailbox each. They import `bus`, and hand each other files through it."""
