# Completion of petiole-leaf for bash.
_petiole_leaf() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    -c | --config | -l | --log | -P | --pid | --tlscert | --tlskey | --tlscacert)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
    -sd | --store_dir | --ports_file_dir)
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      return
      ;;
    -sl | --signal)
      mapfile -t COMPREPLY < <(compgen -W 'stop quit term reopen reload ldm' -- "$word")
      return
      ;;
    --log_format)
      mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$word")
      return
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W '
    -a --addr --net -p --port -n --name --server_name -c --config -t -m --http_port -P --pid --ports_file_dir
    --client_advertise -sd --store_dir -sl --signal -l --log --log_size_limit --log_format -T --logtime --logtime_utc
    -D --debug -V --trace -VV -DV -DVV --max_traced_msg_len --user --pass --auth --tls --tlscert --tlskey --tlsverify
    --tlscacert -h --help --help_tls -v --version' -- "$word")
}
complete -F _petiole_leaf petiole-leaf
