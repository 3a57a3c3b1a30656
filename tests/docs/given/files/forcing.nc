forcing
