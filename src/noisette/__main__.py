from noisette.cli import main

main()
