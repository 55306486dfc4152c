# One round of Windows Update: look, choose, download, install. Nothing restarts here.

# Result codes of the update agent: 2 succeeded, 3 succeeded with errors
$good = 2, 3

function Select-Updates($Found, [string[]]$Include, [string[]]$Exclude) {
    foreach ($update in $Found) {
        $title = $update.Title
        $wanted = -not $Include.Count -or @($Include | Where-Object { $title -match $_ }).Count
        if ($wanted -and -not @($Exclude | Where-Object { $title -match $_ }).Count) { $update }
    }
}

function Invoke-UpdateRound([string]$Criteria, [string[]]$Include, [string[]]$Exclude, [int]$Limit) {
    $session = New-Object -ComObject Microsoft.Update.Session
    $session.ClientApplicationID = 'build'
    $restart = (New-Object -ComObject Microsoft.Update.SystemInfo).RebootRequired
    $found = $session.CreateUpdateSearcher().Search($Criteria).Updates
    $all = @(Select-Updates -Found $found -Include $Include -Exclude $Exclude)
    # Until a restart, what was installed is still found, and what needs it fails
    $chosen = @(if (-not $restart) { $all | Select-Object -First $Limit })
    $installed, $failed = @(), @()
    if ($chosen.Count) {
        $batch = New-Object -ComObject Microsoft.Update.UpdateColl
        foreach ($update in $chosen) {
            if (-not $update.EulaAccepted) { $update.AcceptEula() }
            $null = $batch.Add($update)
        }
        Write-Host "downloading $($batch.Count) updates"
        $downloader = $session.CreateUpdateDownloader()
        $downloader.Updates = $batch
        $null = $downloader.Download()
        $ready = New-Object -ComObject Microsoft.Update.UpdateColl
        foreach ($update in $chosen) {
            if ($update.IsDownloaded) {
                $null = $ready.Add($update)
            } else {
                $failed += "$($update.Title) (not downloaded)"
            }
        }
        if ($ready.Count) {
            Write-Host "installing $($ready.Count) updates"
            $installer = $session.CreateUpdateInstaller()
            $installer.Updates = $ready
            $result = $installer.Install()
            $restart = $restart -or $result.RebootRequired
            for ($at = 0; $at -lt $ready.Count; $at++) {
                $title, $one = $ready.Item($at).Title, $result.GetUpdateResult($at)
                if ($good -contains $one.ResultCode) {
                    $installed += $title
                    Write-Host "installed $title"
                } else {
                    $failed += '{0} (0x{1:X8})' -f $title, $one.HResult
                }
            }
        }
    }
    $failed | ForEach-Object { Write-Host "failed $_" }
    Write-Result @{
        restart = [bool]$restart; installed = @($installed); failed = @($failed); left = $all.Count - $installed.Count
    }
}
