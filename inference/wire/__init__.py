"""Requests and answers as they travel over HTTP: forms of data, without the views."""
