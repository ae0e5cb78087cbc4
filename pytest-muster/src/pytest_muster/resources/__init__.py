"""What tests share: resources that live once per run or once per worker."""
