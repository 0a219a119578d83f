"""How long the texts of the raw contract may be: what every engine can hold, so that all refuse the same lines."""

ID_CHARACTERS = 128
PROPERTY_CHARACTERS = 255
EVENT_CHARACTERS = 64
FILE_CHARACTERS = 1024
VALUE_BYTES = (1 << 24) - 1
