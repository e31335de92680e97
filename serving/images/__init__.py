"""Image files decoded beside the event loop: in threads, or in processes where a thread would keep everything else waiting."""
