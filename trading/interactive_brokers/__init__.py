"""Interactive Brokers behind the ports of broker, feed and clock. ``library`` alone knows the library that speaks TWS."""
