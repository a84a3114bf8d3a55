"""`python -m ssgan_tf COMMAND` is `ssgan COMMAND`."""

from ssgan_tf.commands.main import main

if __name__ == "__main__":
    main()
