"""Inputs that nobody wrote: from the OpenAPI document, and around tokens, bodies and messages that are good."""
